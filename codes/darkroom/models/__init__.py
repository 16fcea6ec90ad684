"""Training methods: which tensors follow from which, one small final class each."""
