/** DeepSeek's families and those that descend from them, one declarative file each. */
@NullMarked
package io.winnow.core.internal.family.deepseek;

import org.jspecify.annotations.NullMarked;
