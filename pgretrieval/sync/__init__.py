"""Collections that follow tables of the application: attaching them, and the workers that keep them up."""
