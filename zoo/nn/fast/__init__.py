"""
What makes the hot loops fast, and nothing else; everything here computes what plain torch would.

Outside of this folder the code reads as mathematics. It imports torch and what is beside it only.
:mod:`dreamzoo.nn.fast.switch` turns all of it off and leaves the mathematics.
"""
