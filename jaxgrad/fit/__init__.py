"""What ``jaxgrad fit``, ``jaxgrad render`` and ``jaxgrad blend`` do: a field is fitted to a picture, and looked at.

One file each: `_settings` says what is fitted and with which numbers, `_picture` reads files, `_network` makes the
field, `_training` trains it, `_run` keeps its state, `_weights` the result; `_panel` draws and `_record` writes down.
`_fit`, `_render` and `_blend` put them together. None of it needs JAX before the arguments are known to be right.
"""
