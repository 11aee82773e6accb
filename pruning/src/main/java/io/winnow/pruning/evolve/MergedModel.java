package io.winnow.pruning.evolve;

import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A model that runs with one individual after another. Only the layers whose group differs from the
 * individual before are merged anew. Not thread-safe; {@link #close} undoes the last individual,
 * and leaves the model, whose owner is the caller, open and as it was.
 */
public final class MergedModel implements AutoCloseable {
  private final MoeModel model;
  private final SearchSpace space;
  private final List<MergeableMoeLayer> layers = new ArrayList<>();
  private final @Nullable ExpertMerge[] applied;

  private MergedModel(MoeModel model, SearchSpace space) {
    this.model = model;
    this.space = space;
    for (MoeLayerView layer : model.moeLayers()) {
      layers.add((MergeableMoeLayer) layer);
    }
    applied = new ExpertMerge[layers.size()];
  }

  /**
   * Wraps a model, which runs with its own experts until {@link #apply} is called.
   *
   * @throws InvalidInputException if the space is not this model's
   */
  public static MergedModel of(MoeModel model, SearchSpace space) {
    SearchSpace own = SearchSpace.of(model, space.retained(), space.topK());
    if (!own.layers().equals(space.layers()) || own.numExperts() != space.numExperts()) {
      throw new InvalidInputException(
          String.format(
              "The search is for the layers %s of %d experts, the model has the layers %s of %d; was"
                  + " it planned for another model?",
              space.layers(), space.numExperts(), own.layers(), own.numExperts()));
    }
    return new MergedModel(model, space);
  }

  /** Returns the model, which computes with the applied individual. */
  public MoeModel model() {
    return model;
  }

  /**
   * Lets the model compute as this individual says.
   *
   * @throws InvalidInputException if it is not of this space; nothing has been changed then
   */
  public void apply(Individual individual) {
    space.check(individual);
    for (int place = 0; place < layers.size(); place++) {
      ExpertMerge merge = individual.groups().get(space.group(place));
      if (!merge.equals(applied[place])) {
        applied[place] = null; // Unknown, should the layer fail half-way.
        layers.get(place).applyMerge(merge, individual.topK());
        applied[place] = merge;
      }
    }
  }

  /** Lets the model compute with its own experts and top-k again. */
  public void undo() {
    for (int place = 0; place < layers.size(); place++) {
      layers.get(place).undoMerge();
      applied[place] = null;
    }
  }

  /** Undoes the applied individual; the model stays open. */
  @Override
  public void close() {
    undo();
  }
}
