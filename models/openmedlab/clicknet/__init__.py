"""openmedlab-click: the bundled network that turns clicks into masks."""
