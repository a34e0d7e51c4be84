"""A codebook against plain loops: what is nearest, what codes follow, which begin anew."""

import math

import pytest
import torch as th
from torch import Tensor

from dreamzoo.nn.rssm.codebook import Codebook, CodebookLatents

N, S, C, W = 40, 2, 3, 4


def make(revive: float = 0.0, decay: float = 0.8, classes: int = C) -> Codebook:
    th.manual_seed(0)
    return Codebook(S, classes, W, decay, revive).double()


def batches(number: int) -> list[Tensor]:
    generator = th.Generator().manual_seed(1)
    return [th.randn(N, S, W, generator=generator).double() for _ in range(number)]


def slow_nearest(codes: Tensor, vectors: Tensor) -> Tensor:
    places = th.zeros(vectors.shape[:2]).long()
    for row in range(len(vectors)):
        for s in range(S):
            squares = [float((vectors[row, s] - code).square().sum()) for code in codes[s]]
            places[row, s] = squares.index(min(squares))
    return places


def test_the_nearest_code_is_that_of_a_plain_loop() -> None:
    book = make()
    (vectors,) = batches(1)
    places = book.nearest(vectors)
    assert th.equal(places, slow_nearest(book.codes, vectors))
    assert th.equal(book.nearest(vectors.view(2, -1, S, W)), places.view(2, -1, S))


def test_codes_that_are_near_each_other_are_told_apart_in_float32() -> None:
    """Products of matrices lose the difference of such distances."""
    book = Codebook(1, 2, 1)
    book.codes.copy_(th.tensor([[[1000.0], [1000.5]]]))
    assert book.nearest(th.tensor([[[1000.1]], [[1000.4]]])).flatten().tolist() == [0, 1]


def test_codes_are_running_means_of_what_they_stand_for() -> None:
    """Counts and sums as in appendix A.1 of VQ-VAE, in a loop over vectors."""
    book = make()
    codes = book.codes.clone()
    counts, sums = th.zeros(S, C).double(), th.zeros(S, C, W).double()
    for vectors in batches(4):
        places = slow_nearest(codes, vectors)
        assert th.equal(book.nearest(vectors), places)
        book.update(vectors, places)
        for s in range(S):
            for c in range(C):
                mine = [vectors[row, s] for row in range(N) if places[row, s] == c]
                total = sum(mine, th.zeros(W).double())
                counts[s, c] = 0.8 * counts[s, c] + 0.2 * len(mine) / N
                sums[s, c] = 0.8 * sums[s, c] + 0.2 * total / N
                if counts[s, c] > 0:
                    codes[s, c] = sums[s, c] / counts[s, c]
        th.testing.assert_close(book.codes, codes)
        th.testing.assert_close(book.shares, counts)


def test_a_code_that_nothing_was_near_to_stays_where_it_is() -> None:
    book = make()
    book.codes[0, 1] = 1e6
    book.update(*(lambda x: (x, book.nearest(x)))(batches(1)[0]))
    assert (book.codes[0, 1] == 1e6).all()
    assert book.codes.isfinite().all()


def test_the_first_update_puts_all_codes_where_vectors_are() -> None:
    book = make(revive=0.01, decay=0.99)
    (vectors,) = batches(1)
    usage = book.update(vectors, book.nearest(vectors), th.Generator().manual_seed(5))
    assert usage["codebook_revived"].all()
    for s in range(S):
        for code in book.codes[s]:
            assert (vectors[:, s] == code).all(-1).any()
    assert (book.shares == 1 / C).all()


def test_a_dead_code_begins_anew_and_the_others_do_not() -> None:
    """Dead is one that now stands for less than a part of its fair share, here 0.1."""
    book, plain = make(revive=0.3), make(revive=0.0)
    (vectors,) = batches(1)
    places = th.zeros(N, S).long()  # all vectors are of code 0
    for one in (book, plain):
        one.shares.copy_(th.tensor([[0.5, 0.126, 0.124], [0.5, 0.124, 0.126]]))
        usage = one.update(vectors, places, th.Generator().manual_seed(5))
        dead = th.tensor([[False, False, True], [False, True, False]])
        assert th.equal(usage["codebook_revived"], dead & (one.revive > 0))
    th.testing.assert_close(book.codes[~dead], plain.codes[~dead])
    th.testing.assert_close(book.shares[~dead], plain.shares[~dead])
    assert (book.shares[dead] == 1 / C).all()
    assert (vectors[:, 0] == book.codes[0, 2]).all(-1).any()
    assert (vectors[:, 1] == book.codes[1, 1]).all(-1).any()
    th.testing.assert_close(plain.codes[0, 2], make().codes[0, 2])


def test_what_replaces_codes_comes_from_the_generator() -> None:
    books = [make(revive=0.01, classes=20) for _ in range(3)]
    (vectors,) = batches(1)
    for book, seed in zip(books, (5, 5, 6), strict=True):
        book.update(vectors, book.nearest(vectors), th.Generator().manual_seed(seed))
    assert th.equal(books[0].codes, books[1].codes)
    assert not th.equal(books[0].codes, books[2].codes)
    assert len(books[0].codes[0].unique(dim=0)) > 10  # not all the same vector


def test_a_code_that_died_is_used_again() -> None:
    """Three groups of vectors, and codes of which two are far away from all of them."""
    book = Codebook(1, 3, 1, decay=0.9, revive=0.05)
    book.codes.copy_(th.tensor([[[0.0], [50.0], [90.0]]]))
    book.shares.fill_(1 / 3)
    generator = th.Generator().manual_seed(0)
    for _ in range(400):
        group = th.randint(3, (60,), generator=generator) - 1.0
        vectors = (group + 0.01 * th.randn(60, generator=generator)).view(60, 1, 1)
        usage = book.update(vectors, book.nearest(vectors), generator)
    assert book.codes.flatten().sort().values.tolist() == pytest.approx([-1, 0, 1], abs=0.05)
    assert float(usage["codebook_perplexity"]) == pytest.approx(3.0, abs=0.3)


def test_usage_is_counted_by_hand() -> None:
    book = make()
    places = th.tensor([[0, 2]] * 20 + [[1, 2]] * 20)
    usage = book.update(batches(1)[0], places)
    assert usage["codebook_perplexity"].tolist() == pytest.approx([2.0, 1.0])
    assert usage["codebook_used"].tolist() == [[True, True, False], [False, False, True]]
    places = th.tensor([[0, 0]] * 10 + [[1, 1]] * 30)
    perplexity = book.update(batches(1)[0], places)["codebook_perplexity"]
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert perplexity.tolist() == pytest.approx([math.exp(entropy)] * 2)


def latents() -> CodebookLatents:
    th.manual_seed(0)
    return CodebookLatents(S, C, W, decay=0.8).double()


def test_commitment_pulls_vectors_to_their_codes_and_nothing_else() -> None:
    """Squares are summed over a code, averaged over latents and steps; codes are constants."""
    model = latents()
    raw = th.randn(2, 5, S * W).double().requires_grad_()
    post = model.belief(raw)
    terms, _ = model.losses(post)
    (grad,) = th.autograd.grad(terms["commitment"], raw)
    vectors = raw.detach().view(2, 5, S, W)
    th.testing.assert_close(grad.view_as(vectors), 2 * (vectors - post.codes) / (2 * 5 * S))
    slow = [
        float((vectors[b, t, s] - post.codes[b, t, s]).square().sum())
        for b in range(2)
        for t in range(5)
        for s in range(S)
    ]
    assert terms["commitment"].item() == pytest.approx(sum(slow) / len(slow))
    assert not list(model.parameters())
    assert not post.codes.requires_grad
    assert model.weights == {"commitment": 0.25}


def test_gradients_can_be_computed_after_the_codebook_has_moved() -> None:
    """And are those of the codes that were drawn."""
    model = latents()
    logits = th.randn(2, S * C).double().requires_grad_()
    drawn = model.draw(model.expectation(logits), th.Generator().manual_seed(0), mode=False)
    before = th.autograd.grad(drawn.sum(), logits, retain_graph=True)[0]
    codes = model.codebook.codes.clone()
    model.losses(model.belief(th.randn(2, 5, S * W).double()))
    assert not th.equal(model.codebook.codes, codes)
    after = th.autograd.grad(drawn.sum(), logits)[0]
    assert before.any()
    assert th.equal(before, after)


def test_the_codebook_is_saved_with_its_counts() -> None:
    model = latents()
    model.losses(model.belief(th.randn(2, 5, S * W).double()))
    again = CodebookLatents(S, C, W).double()
    again.load_state_dict(model.state_dict())
    assert th.equal(again.codebook.codes, model.codebook.codes)
    assert th.equal(again.codebook.shares, model.codebook.shares)
    places = {tensor.data_ptr() for tensor in model.averages()}
    assert places == {model.codebook.codes.data_ptr(), model.codebook.shares.data_ptr()}
