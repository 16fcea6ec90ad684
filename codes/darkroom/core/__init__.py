"""The ideas of the framework: registry, sample, model, terms, phases, errors. Imports nothing else of ours."""
