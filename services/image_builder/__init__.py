"""The image builder: makes container images of image definitions, each once.

`dockerfile` turns a definition into a Dockerfile and the files beside it, without any I/O; `buildkit` runs the builder;
`builds` holds what is being built and who watches; `inside` has the scripts that run in the image while it is built.
"""
