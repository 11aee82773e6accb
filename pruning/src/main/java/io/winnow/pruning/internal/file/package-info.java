/** Small files of ours: what kind they are, and the elements of their JSON. */
@NullMarked
package io.winnow.pruning.internal.file;

import org.jspecify.annotations.NullMarked;
