"""The checks of the exercises, one module a notebook: ``e04`` holds those of notebook 04."""
