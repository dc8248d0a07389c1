"""The only place that opens or writes image files: what is accepted, what is refused and why."""
