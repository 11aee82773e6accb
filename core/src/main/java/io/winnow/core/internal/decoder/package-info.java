/** The decoder as DJL blocks: what runs layers. */
@NullMarked
package io.winnow.core.internal.decoder;

import org.jspecify.annotations.NullMarked;
