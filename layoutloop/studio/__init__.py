"""Label Studio's side: its API and key, the images of its tasks, its label configs, results and exports."""
