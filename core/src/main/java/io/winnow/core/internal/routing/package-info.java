/** Rules of selections that pruning, its plans and the decoder check alike. */
@NullMarked
package io.winnow.core.internal.routing;

import org.jspecify.annotations.NullMarked;
