/** A search whose models are tried by several processes, through Hazelcast. */
@NullMarked
package io.winnow.examples.cluster;

import org.jspecify.annotations.NullMarked;
