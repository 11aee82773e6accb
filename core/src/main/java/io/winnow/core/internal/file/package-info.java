/** Small files: strict JSON, UTF-8 text, output that appears when it is complete. */
@NullMarked
package io.winnow.core.internal.file;

import org.jspecify.annotations.NullMarked;
