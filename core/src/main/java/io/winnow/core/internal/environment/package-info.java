/** What the library says of itself, and keeps DJL from saying. */
@NullMarked
package io.winnow.core.internal.environment;

import org.jspecify.annotations.NullMarked;
