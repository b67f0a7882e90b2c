"""The napari plugin: thin views over openmedlab; no medical logic here."""
