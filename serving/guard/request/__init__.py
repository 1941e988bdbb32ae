"""What one request may ask for: its body read safely, checked field by field, bounded in tokens, compiled.

In goes a body's bytes and the limits; out comes what is asked, or a refusal that names the field. Nothing
here knows of keys, of the queue or of the guard's settings.
"""
