"""Deployment: one machine (local/), containers, Kubernetes, systemd, monitoring, cloud."""
