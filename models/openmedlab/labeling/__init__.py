"""Labelling whole scans: methods by name, runs and cohorts, statistics and warnings."""
