/**
 * Hugging Face checkpoint folders: read by mapping, written to a temporary sibling that takes its
 * final name when it is complete.
 */
@NullMarked
package io.winnow.core.internal.checkpoint;

import org.jspecify.annotations.NullMarked;
