/** The forms that layers have: what an architecture family chooses from. */
@NullMarked
package io.winnow.core.internal.form;

import org.jspecify.annotations.NullMarked;
