/** Skipping experts token by token while generating (NAEE, arXiv 2402.14800, section 3.3). */
@NullMarked
package io.winnow.skipping;

import org.jspecify.annotations.NullMarked;
