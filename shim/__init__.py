"""The Flask app that Label Studio talks to: routes in, Label Studio's formats out; it loads no model."""
