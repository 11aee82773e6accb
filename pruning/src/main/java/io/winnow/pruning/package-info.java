/** Removing experts after training: methods, subset search, plans and reports. */
@NullMarked
package io.winnow.pruning;

import org.jspecify.annotations.NullMarked;
