/** The decoder as DJL blocks, and one declarative description per architecture family. */
@NullMarked
package io.winnow.core.decoder;

import org.jspecify.annotations.NullMarked;
