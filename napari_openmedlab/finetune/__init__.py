"""The *Fine-tune* widget without its Qt parts."""
