package io.winnow.core.internal.form;

import java.util.List;

/**
 * What the cache keeps of every token that a layer has seen.
 *
 * @param tensors each {@code [sequences, heads, tokens, size]}
 */
public record StateForm(List<PerToken> tensors) {
  /**
   * Elements of one token in one tensor.
   *
   * @param heads that are kept apart
   * @param size elements of each
   */
  public record PerToken(int heads, int size) {}

  public StateForm {
    tensors = List.copyOf(tensors);
  }

  static StateForm of(PerToken... tensors) {
    return new StateForm(List.of(tensors));
  }
}
