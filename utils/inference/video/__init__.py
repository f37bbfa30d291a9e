"""Videos in and out: files, pixels, parts, codecs, and the run over one video from its work folder to the finished file."""
