/** GLM and what is built like it, as data. */
@NullMarked
package io.winnow.core.internal.family.glm;

import org.jspecify.annotations.NullMarked;
