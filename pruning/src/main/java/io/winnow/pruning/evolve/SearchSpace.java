package io.winnow.pruning.evolve;

import com.google.common.primitives.Ints;
import com.google.gson.JsonObject;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MergeableMoeLayer;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.internal.routing.RetainedExperts;
import io.winnow.pruning.PruningPlan;
import io.winnow.pruning.PruningReport;
import io.winnow.pruning.SubsetLoss;
import io.winnow.pruning.internal.file.JsonFields;
import java.io.Serializable;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * What an evolutionary search may choose from: which layers share one merge, and its shape.
 * Immutable and serializable.
 *
 * @param layers the numbers of the decoder's MoE layers, ascending
 * @param groups the number of groups that these are divided into by depth; the layer at place p
 *     belongs to group {@code p * groups / layers.size()}. EEP uses 4, or one per layer
 * @param numExperts n
 * @param retained r
 * @param topK k while searching and in the result; may be lower than the model's own
 */
public record SearchSpace(List<Integer> layers, int groups, int numExperts, int retained, int topK)
    implements Serializable {
  private static final long serialVersionUID = 1L;

  /**
   * Copies the list.
   *
   * @throws InvalidInputException if the numbers do not fit each other
   */
  public SearchSpace {
    layers = List.copyOf(layers);
    require(
        !layers.isEmpty(),
        "No layer has experts, so that there is nothing to search; give a model with experts");
    require(
        groups >= 1 && groups <= layers.size(),
        "%d groups of %d layers are not possible; use 1 to %d",
        groups,
        layers.size(),
        layers.size());
    require(
        retained >= 1 && retained <= numExperts,
        "Cannot retain %d of %d experts; retain 1 to %d",
        retained,
        numExperts,
        numExperts);
    require(
        topK >= 1 && topK <= retained,
        "A token cannot select %d of %d retained experts; retain more, or use 1 to %d active experts",
        topK,
        retained,
        retained);
  }

  private static void require(boolean condition, String message, Object... values) {
    if (!condition) {
      throw new InvalidInputException(String.format(message, values));
    }
  }

  /**
   * Returns the space with one group per layer and the model's own k.
   *
   * @param retained r, from k to n
   * @throws InvalidInputException if a layer cannot merge experts, layers differ in n or k, or r is
   *     out of range
   */
  public static SearchSpace of(MoeModel model, int retained) {
    return of(
        model,
        retained,
        model.moeLayers().isEmpty() ? 1 : model.moeLayers().get(0).routing().topK());
  }

  /**
   * Returns the space with one group per layer and another k, for fewer active experts; otherwise
   * like {@link #of(MoeModel, int)}.
   *
   * @param retained r, from {@code topK} to n
   */
  public static SearchSpace of(MoeModel model, int retained, int topK) {
    List<Integer> layers = new ArrayList<>();
    MoeLayerView first = null;
    for (MoeLayerView layer : model.moeLayers()) {
      if (!(layer instanceof MergeableMoeLayer)) {
        throw new InvalidInputException(
            "Layer "
                + layer.layerIndex()
                + " ("
                + layer.getClass().getName()
                + ") cannot run with merged experts; implement MergeableMoeLayer");
      }
      first = first == null ? layer : first;
      require(
          layer.numExperts() == first.numExperts()
              && layer.routing().topK() == first.routing().topK(),
          "Layer %d has %d experts of which a token selects %d, layer %d has %d and %d; a search"
              + " needs the same in every layer",
          first.layerIndex(),
          first.numExperts(),
          first.routing().topK(),
          layer.layerIndex(),
          layer.numExperts(),
          layer.routing().topK());
      layers.add(layer.layerIndex());
    }
    if (first == null) {
      throw new InvalidInputException(
          "No layer has experts, so that there is nothing to prune; give a model with experts");
    }
    return new SearchSpace(layers, layers.size(), first.numExperts(), retained, topK);
  }

  /** Returns this space with another number of groups. */
  public SearchSpace withGroups(int newGroups) {
    return new SearchSpace(layers, newGroups, numExperts, retained, topK);
  }

  /**
   * Returns an individual's merges by the number of their layer.
   *
   * @throws InvalidInputException if it is not of this space
   */
  public Map<Integer, ExpertMerge> merges(Individual individual) {
    check(individual);
    Map<Integer, ExpertMerge> merges = new TreeMap<>();
    for (int place = 0; place < layers.size(); place++) {
      merges.put(layers.get(place), individual.groups().get(group(place)));
    }
    return merges;
  }

  /** Returns the group of the layer at this place among the MoE layers. */
  int group(int place) {
    return (int) ((long) place * groups / layers.size());
  }

  /**
   * Checks that an individual is one of this space.
   *
   * @throws InvalidInputException if it has other groups, another shape or another k
   */
  void check(Individual individual) {
    ExpertMerge merge = individual.groups().get(0);
    require(
        individual.groups().size() == groups
            && merge.retained() == retained
            && merge.numExperts() == numExperts
            && individual.topK() == topK,
        "The individual has %d groups of [%d, %d] and k = %d; this search has %d groups of [%d, %d]"
            + " and k = %d",
        individual.groups().size(),
        merge.retained(),
        merge.numExperts(),
        individual.topK(),
        groups,
        retained,
        numExperts,
        topK);
  }

  /**
   * Returns the individual that prunes as a plan does, for example as NAEE chose.
   *
   * @throws InvalidInputException if the plan is for other layers, retains another number of
   *     experts, or retains different ones in layers that share a group
   */
  public Individual individual(PruningPlan plan) {
    if (!plan.retained().keySet().equals(new TreeSet<>(layers))) {
      throw new InvalidInputException(
          "The plan is for the layers "
              + plan.retained().keySet()
              + ", the search for "
              + layers
              + "; was the plan made for another model?");
    }
    List<@Nullable List<Integer>> chosen = new ArrayList<>();
    List<ExpertMerge> merges = new ArrayList<>();
    for (int place = 0; place < layers.size(); place++) {
      int layer = layers.get(place);
      List<Integer> experts = plan.retained().getOrDefault(layer, List.of());
      RetainedExperts.check(layer, numExperts, topK, experts);
      require(
          experts.size() == retained,
          "The plan retains %d experts in layer %d, the search %d in every layer",
          experts.size(),
          layer,
          retained);
      int group = group(place);
      if (group == merges.size()) {
        merges.add(ExpertMerge.ofRetained(numExperts, Ints.toArray(experts)));
        chosen.add(experts);
      } else if (!experts.equals(chosen.get(group))) {
        throw new InvalidInputException(
            String.format(
                "The plan retains %s in layer %d, and %s in an earlier layer of the same group; with"
                    + " one group per layer (%d groups) it fits",
                experts, layer, chosen.get(group), layers.size()));
      }
    }
    return new Individual(merges, topK);
  }

  /**
   * Returns the individual that prunes as a report's losses advise: in each group the experts whose
   * removal loses least, summed over the group's layers, each loss relative to the norm of its
   * layer's output (NAEE, arXiv 2402.14800, equation 3, for several layers at once). With one layer
   * per group that is what the report chose. Of equally good choices the one whose dropped experts
   * come first wins. Empty if the report knows no choice's loss in all layers of a group, as where
   * there are too many subsets to look at each.
   *
   * @throws InvalidInputException if the report is for other layers or another number of experts
   */
  public Optional<Individual> individual(PruningReport report) {
    List<ExpertMerge> merges = new ArrayList<>();
    for (int group = 0; group < groups; group++) {
      Map<List<Integer>, Double> sums = new HashMap<>();
      int inGroup = 0;
      for (int place = 0; place < layers.size(); place++) {
        if (group(place) == group) {
          Map<List<Integer>, Double> losses = relativeLosses(report, layers.get(place));
          if (inGroup++ == 0) {
            sums.putAll(losses);
          } else {
            sums.keySet().retainAll(losses.keySet());
            sums.replaceAll((dropped, sum) -> sum + losses.getOrDefault(dropped, 0.0));
          }
        }
      }
      Optional<SubsetLoss> best =
          sums.entrySet().stream()
              .map(entry -> new SubsetLoss(entry.getKey(), entry.getValue()))
              .min(Comparator.naturalOrder());
      if (best.isEmpty()) {
        return Optional.empty();
      }
      List<Integer> dropped = best.get().dropped();
      int[] kept =
          IntStream.range(0, numExperts).filter(expert -> !dropped.contains(expert)).toArray();
      require(
          kept.length == retained,
          "The report retains %d experts, the search %d in every layer",
          kept.length,
          retained);
      merges.add(ExpertMerge.ofRetained(numExperts, kept));
    }
    return Optional.of(new Individual(merges, topK));
  }

  private static Map<List<Integer>, Double> relativeLosses(PruningReport report, int number) {
    PruningReport.Layer layer =
        report.layers().stream()
            .filter(one -> one.layer() == number)
            .findFirst()
            .orElseThrow(
                () ->
                    new InvalidInputException(
                        "The report says nothing about layer "
                            + number
                            + " of the search; was it made for another model?"));
    double loss = layer.loss().orElse(0);
    double norm = loss > 0 ? loss / layer.relativeLoss().orElse(1) : 1;
    Map<List<Integer>, Double> losses = new HashMap<>();
    layer.losses().forEach(one -> losses.put(one.dropped(), one.loss() / norm));
    return losses;
  }

  /**
   * Returns an individual that only prunes as a plan, experts ascending: the order of experts
   * changes nothing in what a layer computes.
   *
   * @throws InvalidInputException if it merges experts, or is not of this space
   */
  public PruningPlan plan(Individual individual, Provenance provenance) {
    check(individual);
    if (!individual.isPruning()) {
      throw new InvalidInputException(
          "The individual merges experts, which no pruning plan can say; export the merged model");
    }
    Map<Integer, List<Integer>> plan = new TreeMap<>();
    for (int place = 0; place < layers.size(); place++) {
      int[] experts = individual.groups().get(group(place)).retainedExperts();
      plan.put(layers.get(place), Ints.asList(experts).stream().sorted().toList());
    }
    return PruningPlan.of(plan, provenance);
  }

  /** Returns the space as JSON. */
  JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.add("layers", JsonFields.array(layers));
    json.addProperty("groups", groups);
    json.addProperty("experts", numExperts);
    json.addProperty("retained", retained);
    json.addProperty("top_k", topK);
    return json;
  }
}
