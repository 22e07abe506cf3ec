"""What is examined: recipes and the organisms trained by them, models set by hand, and the opening
of any model.

Everything opened here has one set of names (`opening.Opened`). What is done with it stands in
`tracing` and `analyses`.

Few-shot models train under clamps, which are those of `tracing`.

May import of ours, beside itself: data, tracing, files, profiles, sources.
"""
