package io.winnow.pruning.internal.shrink;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import java.util.Arrays;

/**
 * What one expert's last matrix multiplies, times the weights with which tokens take the expert.
 *
 * @param expert its number in the layer
 * @param tokens the tokens that take it, ascending
 * @param features {@code [tokens, channels]} float32; belongs to who made it
 */
record ExpertFeatures(int expert, long[] tokens, NDArray features) {
  /** Returns how many of its tokens are among the first so many of all. */
  int rowsIn(int first) {
    int place = Arrays.binarySearch(tokens, first);
    return place < 0 ? -place - 1 : place;
  }

  /** Returns a view of its first rows, owned by {@code owner}. */
  NDArray rows(NDManager owner, int count) {
    NDArray view = features.get("0:" + count);
    view.attach(owner);
    return view;
  }

  /** Returns the first of its tokens, int64, owned by {@code owner}. */
  NDArray tokens(NDManager owner, int count) {
    return owner.create(Arrays.copyOf(tokens, count));
  }

  int channels() {
    return (int) features.getShape().get(1);
  }
}
