/** Token generation with a key/value cache. */
@NullMarked
package io.winnow.core.generate;

import org.jspecify.annotations.NullMarked;
