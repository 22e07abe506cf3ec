"""What the Snakefile calls: train, execute, gate, build the site."""
