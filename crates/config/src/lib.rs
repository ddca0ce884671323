//! settings.yaml and the command line's --set: load, validate, explain; binds nothing.
#![forbid(unsafe_code)]
