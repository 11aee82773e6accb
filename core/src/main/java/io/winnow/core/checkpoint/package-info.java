/**
 * Hugging Face checkpoint folders: safetensors files are read by mapping, and written to a
 * temporary sibling that takes its final name when it is complete.
 */
@NullMarked
package io.winnow.core.checkpoint;

import org.jspecify.annotations.NullMarked;
