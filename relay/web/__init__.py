"""HTTP: metrics and health for machines, the admin API for the CLI, the webhook for SNS."""
