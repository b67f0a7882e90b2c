"""Finding organs by templates: the library of templates, localizers by name, cohorts."""
