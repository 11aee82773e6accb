/** The elements of the JSON in files of ours. */
@NullMarked
package io.winnow.pruning.internal.file;

import org.jspecify.annotations.NullMarked;
