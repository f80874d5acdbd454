"""What Label Studio talks to: HTTP and Label Studio's formats. Never loads a model."""
