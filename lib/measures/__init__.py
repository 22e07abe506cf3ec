"""Tensors in, numbers out: scores of heads, circuits of weights, onsets of curves, the relation
index and its tests.

Everything here is a pure function of tensors and generators, its intervals from `statistics`, so
that a test can give it a case worked out by hand. No model, no file, no page.

May import of ours, beside itself: nothing.
"""
