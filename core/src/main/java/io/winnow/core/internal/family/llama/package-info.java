/** Families of Llama's lineage: grouped queries, one declarative file each. */
@NullMarked
package io.winnow.core.internal.family.llama;

import org.jspecify.annotations.NullMarked;
