"""Deployment on one machine (local/). Nothing else comes with quantserve yet: no image, no chart, no unit."""
