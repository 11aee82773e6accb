/** The families of Qwen, one declarative file each. */
@NullMarked
package io.winnow.core.internal.family.qwen;

import org.jspecify.annotations.NullMarked;
