/** What commands show on the console: progress, and results as tables. */
@NullMarked
package io.winnow.examples.console;

import org.jspecify.annotations.NullMarked;
