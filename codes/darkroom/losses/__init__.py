"""Losses: functions of tensors in thin classes, registered in ``core.terms.LOSSES``."""
