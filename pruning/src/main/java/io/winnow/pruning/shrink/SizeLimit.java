package io.winnow.pruning.shrink;

import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerSize;
import io.winnow.core.LayerwiseModel;
import java.util.Locale;
import java.util.Map;

/** What a model may not exceed when it has become smaller. */
public sealed interface SizeLimit {
  /** Returns whether layers of such sizes are within it. */
  boolean allows(LayerwiseModel model, Map<Integer, LayerSize> sizes);

  /** Returns what is said of it, such as {@code 50 % of the routed experts}. */
  String inWords();

  /** Returns the limit that lets layers of such sizes pass, in the words of this one. */
  String needed(LayerwiseModel model, Map<Integer, LayerSize> sizes);

  /**
   * A share of the elements of the routed experts; routers, shared experts and the rest do not
   * count.
   *
   * @param share above 0, at most 1
   */
  record Share(double share) implements SizeLimit {
    public Share {
      if (!(share > 0) || share > 1) {
        throw new InvalidInputException(
            "The share of the experts to keep is above 0 and at most 1, but is " + share);
      }
    }

    @Override
    public boolean allows(LayerwiseModel model, Map<Integer, LayerSize> sizes) {
      return of(model, sizes) <= share + 1e-12;
    }

    private static double of(LayerwiseModel model, Map<Integer, LayerSize> sizes) {
      return (double) model.expertElements(sizes) / model.expertElements(Sizes.full(model));
    }

    @Override
    public String inWords() {
      return 100 * share + " % of the routed experts";
    }

    @Override
    public String needed(LayerwiseModel model, Map<Integer, LayerSize> sizes) {
      return String.format(Locale.ROOT, "a share of %.4f", of(model, sizes) + 5e-5);
    }
  }

  /**
   * The bytes of all weight files.
   *
   * @param bytes at least 1
   */
  record FileSize(long bytes) implements SizeLimit {
    public FileSize {
      if (bytes < 1) {
        throw new InvalidInputException("The size of the files must be positive, is " + bytes);
      }
    }

    @Override
    public boolean allows(LayerwiseModel model, Map<Integer, LayerSize> sizes) {
      return model.fileBytes(sizes) <= bytes;
    }

    @Override
    public String inWords() {
      return bytes / 1e6 + " MB";
    }

    @Override
    public String needed(LayerwiseModel model, Map<Integer, LayerSize> sizes) {
      return String.format(Locale.ROOT, "%.3f MB", Math.ceil(model.fileBytes(sizes) / 1e3) / 1e3);
    }
  }
}
