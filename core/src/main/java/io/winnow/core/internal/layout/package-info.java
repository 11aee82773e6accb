/** Where a checkpoint has the tensors of a layer, and how experts are cut out of it. */
@NullMarked
package io.winnow.core.internal.layout;

import org.jspecify.annotations.NullMarked;
