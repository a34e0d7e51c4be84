"""The two tasks of the Gumbel-softmax paper (Jang et al. 2017), on 5,000 digits of MNIST."""
