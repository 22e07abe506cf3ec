"""What models are fed: generated worlds with their gold annotation, prompts, sequences, and real
text.

A corpus has `words`, `context` and `batch`. From `measures` come types alone. No model, no page.

May import of ours, beside itself: measures, files, profiles.
"""
