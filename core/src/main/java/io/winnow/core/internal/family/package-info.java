/** The register of architecture families. */
@NullMarked
package io.winnow.core.internal.family;

import org.jspecify.annotations.NullMarked;
